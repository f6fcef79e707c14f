// Videos and the camera: frames go to the server as fast as it answers, those between are skipped.
"use strict";

const MAX_IN_FLIGHT = 2; // frames asked about and not yet answered
const SAY_EVERY_MS = 1000; // a screen reader cannot follow every frame
const QUALITY = 0.92; // of the frames' JPEG files

const motion = { run: 0, name: "", frames: 0, drawn: 0, inFlight: 0, started: 0, said: 0 };

// ------------------------------------------------------------------------------- the sources

async function play(file) {
  const video = byId("video");
  video.src = URL.createObjectURL(file);
  await begin(file.name, `${file.name}: this browser cannot play it; detector detect reads more formats`);
}

async function watchCamera() {
  stopMotion();
  if (!navigator.mediaDevices)
    return fail(new Error("browsers give a camera only to pages from localhost or by https"));
  try {
    byId("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
  } catch (error) {
    return fail(new Error(`no camera: ${error.message}`));
  }
  byId("file").value = "";
  byId("camera").setAttribute("aria-pressed", "true");
  await begin("camera.jpg", "the camera gives no picture");
}

async function begin(name, failure) {
  const video = byId("video");
  const run = motion.run;
  if (!state.model) return fail(new Error("there is no model yet"));
  delete byId("classes").dataset.listed;
  Object.assign(motion, { name, frames: 0, drawn: 0, inFlight: 0, started: performance.now(), said: 0 });
  Object.assign(state, { file: null, answer: null, off: new Set() });
  state.asked++; // an answer about an earlier picture comes too late
  byId("stop").hidden = false;
  try {
    await video.play();
  } catch {
    if (run === motion.run) { stopMotion(); fail(new Error(failure)); }
    return;
  }
  if (run === motion.run) nextFrame(run);
}

function stopMotion() {
  const video = byId("video");
  motion.run++;
  video.pause();
  for (const track of video.srcObject?.getTracks() ?? []) track.stop();
  if (video.src) URL.revokeObjectURL(video.src);
  video.srcObject = null;
  video.removeAttribute("src");
  byId("camera").setAttribute("aria-pressed", "false");
  byId("stop").hidden = true;
}

// ------------------------------------------------------------------------------- the frames

// The browser calls back for frames that it shows; which of them are asked about depends on the server.
function nextFrame(run) {
  byId("video").requestVideoFrameCallback((now, { presentedFrames }) => {
    if (run !== motion.run) return;
    motion.frames = presentedFrames;
    if (motion.inFlight < MAX_IN_FLIGHT) sendFrame(run, presentedFrames);
    nextFrame(run);
  });
}

async function sendFrame(run, number) {
  motion.inFlight++;
  try {
    const bitmap = await createImageBitmap(byId("video"));
    const answer = await askAbout(await jpegOf(bitmap), motion.name);
    if (run === motion.run && number > (state.frame?.run === run ? state.frame.number : 0))
      showFrame(run, number, bitmap, answer);
  } catch (error) {
    if (run !== motion.run) return;
    if (error.status !== 503) { stopMotion(); return fail(error); }
    await new Promise((done) => setTimeout(done, 1000)); // the server is full
  } finally {
    if (run === motion.run) motion.inFlight--;
  }
}

async function jpegOf(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
}

function showFrame(run, number, bitmap, answer) {
  state.bitmap?.close();
  Object.assign(state, { bitmap, answer, frame: { run, number } });
  motion.drawn++;
  listClasses();
  const summary = show();
  const now = performance.now();
  if (now - motion.said < SAY_EVERY_MS) return;
  motion.said = now;
  const rate = motion.drawn / ((now - motion.started) / 1000);
  say(`${summary}; ${motion.drawn} of ${motion.frames} frames, ${rate.toFixed(1)} a second`);
}

byId("camera").addEventListener("click", watchCamera);
byId("stop").addEventListener("click", () => { stopMotion(); say("stopped"); });
byId("video").addEventListener("ended", () => {
  stopMotion();
  say(`the video has ended: ${motion.drawn} of ${motion.frames} frames were asked about`);
});
