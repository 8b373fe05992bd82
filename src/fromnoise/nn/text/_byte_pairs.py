"""Byte-pair tokens: bytes, and the most frequent pairs of tokens in a set of captions.

Source: Sennrich et al. 2016 (arXiv 1508.07909).

Token 0 means "no token", 1 + b is the byte b, 257 + i is the i-th merge. Merges stay within a word, which includes the
blank before it.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

Merge = tuple[int, int]
BYTES = 257
"""The number of the first merge: token 0 and 256 bytes come before it."""


def words(text: str) -> list[str]:
    """The words of a text in lower case, each with a blank before it."""
    return [f" {word}" for word in text.lower().split()]


def as_bytes(word: str) -> list[int]:
    """The token numbers of a word's bytes."""
    return [1 + byte for byte in word.encode(errors="replace")]


def learn(texts: Iterable[str], count: int) -> list[Merge]:
    """Learn at most `count` merges: always the most frequent pair, and the smallest of equally frequent ones.

    A pair that occurs only once is never merged.
    """
    counts = Counter(word for text in texts for word in words(text))
    spelled = [(as_bytes(word), n) for word, n in sorted(counts.items())]
    frequency: Counter[Merge] = Counter()
    where: defaultdict[Merge, set[int]] = defaultdict(set)
    for i, (tokens, n) in enumerate(spelled):
        _tally(tokens, n, i, frequency, where)
    merges: list[Merge] = []
    waiting = [(-n, pair) for pair, n in frequency.items()]  # outdated entries are skipped below
    heapq.heapify(waiting)
    while len(merges) < count and waiting:
        n, best = heapq.heappop(waiting)
        if -n != frequency.get(best):
            continue
        if -n < 2:
            break
        merges.append(best)
        touched: set[Merge] = set()
        for i in sorted(where.pop(best)):
            tokens, n = spelled[i]
            _tally(tokens, -n, i, frequency, where)
            spelled[i] = joined(tokens, best, BYTES - 1 + len(merges)), n
            _tally(spelled[i][0], n, i, frequency, where)
            touched.update(pairwise(tokens), pairwise(spelled[i][0]))
        frequency.pop(best, None)
        for pair in touched:
            if pair in frequency:
                heapq.heappush(waiting, (-frequency[pair], pair))
    return merges


def _tally(
    tokens: Sequence[int], n: int, word: int, frequency: Counter[Merge], where: defaultdict[Merge, set[int]]
) -> None:
    """Add n occurrences of a word's pairs to the counts; a negative n removes them."""
    for pair in pairwise(tokens):
        frequency[pair] += n
        if n > 0:
            where[pair].add(word)
        elif frequency[pair] <= 0:
            del frequency[pair]


def joined(tokens: Sequence[int], pair: Merge, number: int) -> list[int]:
    """Replace every occurrence of a pair by one token, from left to right."""
    found: list[int] = []
    i = 0
    while i < len(tokens):
        here = i + 1 < len(tokens) and (tokens[i], tokens[i + 1]) == pair
        found.append(number if here else tokens[i])
        i += 1 + here
    return found


def spelled(word: str, ranks: dict[Merge, int]) -> list[int]:
    """The tokens of a word: merges are applied in the order in which they were learned."""
    tokens = as_bytes(word)
    while len(tokens) > 1:
        first = min(pairwise(tokens), key=lambda pair: ranks.get(pair, len(ranks)))
        if first not in ranks:
            break
        tokens = joined(tokens, first, BYTES + ranks[first])
    return tokens
