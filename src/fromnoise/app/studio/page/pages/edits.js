// The kinds of edits: what each is called, what it does, which controls it takes, and which models can.

export const KINDS = {
  inpaint: { name: "Inpaint", go: "Draw it anew", what: "Paint over what the model should draw. Everything else stays as it is.", takes: ["repeats", "sampler", "steps", "n"] },
  "image-to-image": { name: "Image to image", go: "Change it", what: "Noise is added to the picture and removed again: the larger shapes stay, the details are drawn anew.", takes: ["strength", "sampler", "steps", "n"] },
  interpolate: { name: "Interpolate", go: "Walk between them", what: "From one picture to another, along the arc between their latents. Every image on the way is one the model could draw.", takes: ["n"] },
  reconstruct: { name: "Reconstruct", go: "There and back", what: "To the latent of the picture along the ODE, and back. The difference shows how exactly the model knows the picture.", takes: [] },
  upscale: { name: "Upscale", go: "Enlarge it", what: "The model draws a large image whose averages over squares are the small picture.", takes: ["sampler", "steps", "n"] },
  variations: { name: "Variations", go: "Vary it", what: "What the embedding says of the picture stays. The rest is drawn anew.", takes: ["strength", "steps", "n"] },
  "text-difference": { name: "Text difference", go: "Move it", what: "Moves the picture from what one text says towards another.", takes: ["text", "from", "strength", "n"] },
  control: { name: "Control", go: "Draw", what: "The model draws an image that fits the one it is shown.", takes: ["prompt", "sampler", "steps", "n"] },
};
export const STRENGTH = { "image-to-image": 0.6, variations: 1, "text-difference": 0.5 };

// Why a model cannot do a kind; "" if it can.
export function unable(kind, model) {
  if (model.shape.length !== 3) return "it draws points, not images";
  if (kind === "control") return model.beside ? "" : "it takes no image to follow";
  if (model.beside) return "it follows an image: use Control";
  if (model.enlarges || (model.cascade && !model.embedding)) return "it only enlarges what another model drew";
  if (model.latent && (kind === "inpaint" || kind === "upscale")) return "it works on latents, not on pixels";
  if ((kind === "variations" || kind === "text-difference") && !model.embedding) return "it knows no image embeddings";
  return "";
}
