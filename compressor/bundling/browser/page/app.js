// Ties the parts together: load and prove the model, then answer what is drawn.
import { Classifier } from "./classifier.js";
import { Drawing } from "./drawing.js";
import { toPicture } from "./picture.js";
import { loadSite, readManifest } from "./site.js";
import { View } from "./view.js";

const view = new View(document);

async function start() {
  const described = await readManifest();
  view.describe(described);
  const site = await loadSite(described, (share) => view.progress(share));
  view.stage(`Checking ${site.artifact.file}`);
  const classifier = await Classifier.create(site);
  const result = await classifier.check(site.check);
  view.checked(result, classifier.runtime, site);
  if (result.right < result.examples) {
    return; // what answers wrongly is not asked
  }
  await classifier.warmUp(site.check);
  view.latency(classifier.latency(), classifier.runtime);
  answer(site, classifier);
}

/** Answer each drawing: at most one prediction at a time, always of the newest. */
function answer(site, classifier) {
  let busy = false;
  let waiting = false;

  const classify = async () => {
    if (busy) {
      waiting = true;
      return;
    }
    busy = true;
    view.busy(busy);
    do {
      waiting = false;
      const strokes = drawing.strokes;
      if (strokes.length === 0) {
        view.empty();
        continue;
      }
      const picture = toPicture(strokes, site.check.input);
      const { probabilities, chosen } = await classifier.classify(picture);
      if (drawing.strokes.length > 0) {
        view.answer(probabilities, chosen, picture);
        view.latency(classifier.latency(), classifier.runtime);
      }
    } while (waiting);
    busy = false;
    view.busy(busy);
  };

  const drawing = new Drawing(view.pad, (empty) => {
    view.drawn(empty);
    classify().catch(stop);
  });
  view.ready(drawing, site.check.input);
}

function stop(error) {
  view.failed(error);
}

start().catch(stop);
