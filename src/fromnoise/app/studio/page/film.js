// The frames of a walk, as many as memory allows: of a long one with large images every second, fourth, … is kept.

const MOST_BYTES = 256 * 2 ** 20;

export function film(most = MOST_BYTES) {
  let kept = [], every = 1, bytes = 0;
  const size = (frame) => Object.values(frame.arrays).reduce((sum, array) => sum + array.data.byteLength, 0);
  return {
    last: -1, // the index of the newest, kept or not
    add(frame) {
      this.last = frame.header.index;
      if (frame.header.index % every) return;
      kept.push(frame);
      bytes += size(frame);
      while (bytes > most && kept.length > 2) {
        every *= 2;
        kept = kept.filter((one) => one.header.index % every === 0);
        bytes = kept.reduce((sum, one) => sum + size(one), 0);
      }
    },
    // The newest that is not after an index; undefined where there is none.
    at(index) {
      let low = 0, high = kept.length;
      while (low < high) { const middle = (low + high) >> 1; kept[middle].header.index <= index ? (low = middle + 1) : (high = middle); }
      return kept[Math.max(0, low - 1)];
    },
    until: (index) => kept.filter((one) => one.header.index <= index),
    get every() { return every; },
  };
}
