// The kinds of edits: the name, a description, the controls, and which models support them.

export const KINDS = {
  inpaint: { name: "Inpaint", go: "Redraw it", what: "Paint over the area that the model should redraw. Everything else stays as it is.", takes: ["repeats", "sampler", "steps", "n"] },
  "image-to-image": { name: "Image to image", go: "Change it", what: "Noise is added to the image and removed again: large shapes stay, and details are redrawn.", takes: ["strength", "sampler", "steps", "n"] },
  interpolate: { name: "Interpolate", go: "Interpolate", what: "From one image to another, along the arc between their latents. Every image on the way is one that the model could draw.", takes: ["n"] },
  reconstruct: { name: "Reconstruct", go: "Reconstruct", what: "From the image to its latent along the ODE, and back. The difference shows how exactly the model can represent the image.", takes: [] },
  upscale: { name: "Upscale", go: "Enlarge it", what: "The model draws a large image whose averages over squares equal the small image.", takes: ["sampler", "steps", "n"] },
  variations: { name: "Variations", go: "Vary it", what: "What the embedding captures of the image stays. Everything else is redrawn.", takes: ["strength", "steps", "n"] },
  "text-difference": { name: "Text difference", go: "Change it", what: "Moves the image away from what one text says and towards another.", takes: ["text", "from", "strength", "n"] },
  control: { name: "Control", go: "Draw", what: "The model draws an image that fits the conditioning image.", takes: ["prompt", "sampler", "steps", "n"] },
};
export const STRENGTH = { "image-to-image": 0.6, variations: 1, "text-difference": 0.5 };

// Why a model does not support a kind; "" if it does.
export function unable(kind, model) {
  if (model.shape.length !== 3) return "it draws points, not images";
  if (kind === "control") return model.beside ? "" : "it takes no conditioning image";
  if (model.beside) return "it is conditioned on an image: use Control";
  if (model.enlarges || (model.cascade && !model.embedding)) return "it only enlarges images of another model";
  if (model.latent && (kind === "inpaint" || kind === "upscale")) return "it works on latents, not on pixels";
  if ((kind === "variations" || kind === "text-difference") && !model.embedding) return "it takes no image embeddings";
  return "";
}
