// Loads what the manifest lists, and holds every byte that will run against it.
import { files } from "./engine.js";
import { sha256 } from "./sha256.js";

const SCHEMA = { name: "compressor-bundle", version: 1 };
const CHECK = "check.json";

/** A file that is not what the manifest says: nothing of it may run. */
export class Altered extends Error {}

/** What the bundle is: {manifest, artifact, sizes}; `sizes` has the bytes of each file to load. */
export async function readManifest() {
  const manifest = parse(await fetched("manifest.json", () => {}), "manifest.json");
  const { name, version } = manifest.schema ?? {};
  if (name !== SCHEMA.name || version !== SCHEMA.version) {
    throw new Error(`manifest.json is of another schema: ${name} ${version}`);
  }
  const { artifact } = manifest;
  const model = `model/${artifact.file}`;
  const members = new Map(manifest.members.map((member) => [member.name, member]));
  const sizes = new Map();
  for (const wanted of [model, CHECK, ...files()]) {
    if (!members.has(wanted)) {
      throw new Altered(`the manifest does not list ${wanted}`);
    }
    sizes.set(wanted, members.get(wanted).bytes);
  }
  if (artifact.sha256 !== members.get(model).sha256) {
    throw new Altered(`the description is of another file than ${model}`);
  }
  return { manifest, artifact, sizes };
}

/**
 * What `readManifest` gave, and the content of its files: {manifest, artifact, sizes, check, model,
 * contents}. `model` are bytes, `contents` has those of each file; `check` is check.json with its
 * vectors as Float32Arrays.
 * `onProgress` is told the share that has come, 0 to 1.
 */
export async function loadSite(described, onProgress) {
  const { manifest, artifact, sizes } = described;
  const digests = new Map(manifest.members.map((member) => [member.name, member.sha256]));
  const total = [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0);
  let come = 0;
  const load = async (name) => {
    const content = await fetched(name, (count) => {
      come += count;
      onProgress(Math.min(1, come / total));
    });
    const found = await sha256(content);
    const listed = digests.get(name);
    if (found !== listed) {
      throw new Altered(`${name} has sha256 ${found.slice(0, 12)}, the manifest says ${listed.slice(0, 12)}`);
    }
    return [name, content];
  };
  const contents = new Map(await Promise.all([...sizes.keys()].map(load)));
  return {
    ...described,
    check: readCheck(parse(contents.get(CHECK), CHECK)),
    model: contents.get(`model/${artifact.file}`),
    contents,
  };
}

/** The bytes at `path`, beside the page; `onBytes` is told how many came each time. */
async function fetched(path, onBytes) {
  let response;
  try {
    // Asked anew each time: an old model from a cache would not fit a new manifest.
    response = await fetch(path, { cache: "no-cache", redirect: "error" });
  } catch {
    throw new Error(`${path} cannot be fetched: is the web server there?`);
  }
  if (!response.ok) {
    throw new Error(`${path} cannot be fetched: the web server answers ${response.status}`);
  }
  const parts = [];
  const reader = response.body.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parts.push(part.value);
      onBytes(part.value.length);
    }
  } catch {
    throw new Error(`${path} cannot be fetched: the connection was cut`);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function parse(bytes, name) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new Error(`${name} is damaged`);
  }
}

function readCheck(check) {
  const { levels } = check.input;
  const inputs = levels ? integers(check.inputs, levels) : floats(check.inputs);
  return { ...check, inputs, outputs: floats(check.outputs) };
}

const decoded = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** What the int8 integers of base64 text stand for, float32. */
function integers(text, { scale, zero }) {
  return Float32Array.from(new Int8Array(decoded(text).buffer), (level) => scale * (level - zero));
}

/** The little-endian float32 numbers of base64 text. */
function floats(text) {
  const bytes = decoded(text);
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.getFloat32(4 * index, true));
}
