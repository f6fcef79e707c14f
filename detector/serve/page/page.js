// A picture: the server is asked once, with a low confidence; slider and classes filter here.
// Videos and the camera are in motion.js.
"use strict";

const LOWEST = 0.05;
const GOLDEN_RATIO = 0.618034;

const byId = (id) => document.getElementById(id);
const state = { model: null, token: "", file: null, bitmap: null, answer: null, off: new Set(), asked: 0 };

// ------------------------------------------------------------------------------- the server

async function ask(path, options = {}) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer.json();
  if (answer.status === 401) byId("token-form").hidden = false;
  let line = `status ${answer.status}`;
  try { line = (await answer.json()).error; } catch { /* no JSON: the status says it */ }
  throw Object.assign(new Error(line), { status: answer.status });
}

// The server's answer about one image: a file, or a frame of a video.
async function askAbout(image, name) {
  const { model } = state;
  const form = new FormData();
  form.append("image", image, name);
  const own = model.task === "classify" || model.nms;
  const query = new URLSearchParams({ model: model.model, ...(own ? {} : { confidence: LOWEST }) });
  return (await ask(`v1/detect?${query}`, { method: "POST", body: form })).images[0];
}

async function describe(name) {
  const query = name ? `?model=${encodeURIComponent(name)}` : "";
  state.model = await ask(`v1/model${query}`);
  const { model, models, names, preprocess, task } = state.model;
  const [height, width] = preprocess.size_hw;
  byId("model-line").textContent =
    `${model}: ${names.length} classes, input ${height}×${width}, ${state.model.precision ?? "fp32"}`;
  byId("confidence-choice").hidden = task === "classify";
  const lowest = state.model.nms ? state.model.nms.confidence : LOWEST;
  byId("confidence").min = lowest;
  byId("model-choice").hidden = models.length < 2;
  byId("model").replaceChildren(...models.map((each) => new Option(each, each, false, each === model)));
  showConfidence();
}

async function detect() {
  const { file, model } = state;
  if (!file || !model) return;
  const number = ++state.asked;
  say(`Asking about ${file.name || "the picture"} …`);
  try {
    const [bitmap, answer] = await Promise.all([
      createImageBitmap(file, { imageOrientation: "from-image" }),
      askAbout(file, file.name || "picture.png"),
    ]);
    if (number !== state.asked) return; // another picture was given meanwhile
    Object.assign(state, { bitmap, answer, off: new Set() });
    delete byId("classes").dataset.listed;
    listClasses();
    say(show());
  } catch (error) {
    if (number === state.asked) fail(error);
  }
}

// ------------------------------------------------------------------------------- the results

// Boxes that the slider and the classes leave, in the server's order; a classifier's classes.
function kept() {
  const { answer, off } = state;
  const scores = answer.scores ?? answer.probabilities;
  const least = answer.scores ? Number(byId("confidence").value) : 0;
  const indices = [...scores.keys()].filter((i) => scores[i] >= least && !off.has(answer.class_ids[i]));
  const pick = (values) => indices.map((i) => values[i]);
  const lists = ["boxes_xyxy", "scores", "probabilities", "class_ids", "class_names"];
  return Object.fromEntries(
    Object.entries(answer).map(([key, value]) => [key, lists.includes(key) ? pick(value) : value]));
}

function listClasses() {
  const { class_ids: ids, class_names: names, scores } = state.answer;
  const found = scores ? [...new Map(ids.map((id, i) => [id, names[i]]))] : [];
  found.sort(([, a], [, b]) => a.localeCompare(b));
  const listed = JSON.stringify(found);
  if (byId("classes").dataset.listed === listed) return; // keeps the keyboard where it is
  byId("classes").dataset.listed = listed;
  const boxes = found.map(([id, name]) => {
    const checked = !state.off.has(id);
    const box = Object.assign(document.createElement("input"), { type: "checkbox", checked });
    box.addEventListener("change", () => { state.off[box.checked ? "delete" : "add"](id); say(show()); });
    const label = document.createElement("label");
    label.append(box, ` ${name}`);
    return label;
  });
  byId("classes").replaceChildren(byId("classes").querySelector("legend"), ...boxes);
  byId("classes").hidden = found.length < 2;
}

// Draws and lists the results that are kept; returns how many there are, in words.
function show() {
  if (!state.answer) return "";
  const result = kept();
  const scores = result.scores ?? result.probabilities;
  const what = result.scores ? "boxes" : "classes";
  const summary = `${scores.length} ${scores.length === 1 ? what.replace(/e?s$/, "") : what}`;
  draw(result);
  byId("rows").replaceChildren(...scores.map((score, i) => {
    const box = result.boxes_xyxy ? result.boxes_xyxy[i].map((value) => value.toFixed(1)).join(", ") : "";
    const row = document.createElement("tr");
    for (const text of [result.class_names[i], score.toFixed(3), box]) row.insertCell().textContent = text;
    return row;
  }));
  byId("caption").textContent = summary;
  const shown = result.class_names.slice(0, 5).join(", ");
  byId("canvas").setAttribute("aria-label", `${result.name}: ${summary}${shown && `: ${shown}`}`);
  for (const id of ["save-json", "save-picture"]) byId(id).disabled = false;
  return summary;
}

const colour = (id) => `hsl(${((0.01 + id * GOLDEN_RATIO) % 1) * 360} 90% 65%)`;

function draw(result) {
  const canvas = byId("canvas");
  const [height, width] = result.size_hw;
  Object.assign(canvas, { width, height, hidden: false });
  const pen = canvas.getContext("2d");
  pen.drawImage(state.bitmap, 0, 0, width, height);
  const size = 8 + 0.01 * (height + width);
  Object.assign(pen, { lineWidth: size / 7, font: `${size}px system-ui, sans-serif`, textBaseline: "top" });
  const boxes = result.boxes_xyxy ?? [];
  for (let i = boxes.length - 1; i >= 0; i--) { // the best box comes on top
    const [x1, y1, x2, y2] = boxes[i];
    const text = `${result.class_names[i]} ${result.scores[i].toFixed(2)}`;
    pen.strokeStyle = pen.fillStyle = colour(result.class_ids[i]);
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const top = Math.max(0, y1 - 1.2 * size);
    pen.fillRect(x1, top, pen.measureText(text).width + size / 2, 1.2 * size);
    pen.fillStyle = "#000";
    pen.fillText(text, x1 + size / 4, top + size / 10);
  }
}

function say(text) {
  byId("status").className = "";
  byId("status").textContent = text;
}

function fail(error) {
  byId("status").className = "error";
  byId("status").textContent = `Error: ${error.message}`;
}

function showConfidence() {
  byId("confidence-value").textContent = Number(byId("confidence").value).toFixed(2);
}

function save(blob, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = state.answer.name.replace(/\.[^.]*$/, "") + suffix;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// ------------------------------------------------------------------------------- the controls

function take(files) {
  const file = [...files].find((each) => /^(image|video)\//.test(each.type));
  if (!file) return fail(new Error("that is not a picture or a video"));
  stopMotion();
  if (file.type.startsWith("video/")) return play(file);
  state.file = file;
  detect();
}

byId("file").addEventListener("change", (event) => event.target.files.length && take(event.target.files));
document.addEventListener("paste", (event) => event.clipboardData.files.length && take(event.clipboardData.files));
document.addEventListener("dragover", (event) => { event.preventDefault(); byId("drop").classList.add("over"); });
document.addEventListener("dragleave", () => byId("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  byId("drop").classList.remove("over");
  take(event.dataTransfer.files);
});
byId("confidence").addEventListener("input", () => { showConfidence(); say(show()); });
byId("model").addEventListener("change", (event) => describe(event.target.value).then(detect, fail));
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = byId("token").value;
  byId("token-form").hidden = true;
  describe().then(() => { say(""); return detect(); }, fail);
});
byId("save-json").addEventListener("click", () => {
  const text = JSON.stringify({ model: state.model.model, images: [kept()] }, null, 1);
  save(new Blob([text], { type: "application/json" }), ".json");
});
byId("save-picture").addEventListener("click", () =>
  byId("canvas").toBlob((blob) => save(blob, "_boxes.png"), "image/png"));

describe().catch(fail);
