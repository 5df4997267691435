// Sounds as Whisper wants them: 16 kHz, one channel. The browser decodes whatever it can play.
const RATE = 16000;

/** Decode and resample: bytes -> Float32Array of samples. */
export async function decoded(bytes) {
  const sound = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes);
  const mono = new Float32Array(sound.length);
  for (let c = 0; c < sound.numberOfChannels; c++) {
    const channel = sound.getChannelData(c);
    for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / sound.numberOfChannels;
  }
  return mono;
}

export const seconds = (samples) => samples.length / RATE;

const REFUSED = {
  NotAllowedError: "the microphone was refused: allow it for this page in the browser, or choose a file.",
  NotFoundError: "there is no microphone: connect one, or choose a file.",
};

/** Record from the microphone; the result has `stop()`, which gives a Blob. */
export async function recording() {
  if (!navigator.mediaDevices) throw new Error("this page may not use the microphone: open it from localhost or by https.");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } }).catch((error) => {
    throw new Error(REFUSED[error.name] ?? error.message);
  });
  const recorder = new MediaRecorder(stream);
  const parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.start();
  return { stop: () => new Promise((resolve) => {
    recorder.onstop = () => {
      stream.getTracks().forEach((track) => track.stop());
      resolve(new Blob(parts, { type: recorder.mimeType }));
    };
    recorder.stop();
  }) };
}

/** Draw the loudness over time. */
export function draw(canvas, samples) {
  const { width, height } = canvas, pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = getComputedStyle(canvas).getPropertyValue("--accent");
  const peak = samples.reduce((most, x) => Math.max(most, Math.abs(x)), 1e-6);
  for (let x = 0; x < width; x += 3) {
    const part = samples.subarray(Math.floor((x * samples.length) / width), Math.ceil(((x + 3) * samples.length) / width));
    const high = Math.max(1, (part.reduce((most, y) => Math.max(most, Math.abs(y)), 0) / peak) * height);
    pen.fillRect(x, (height - high) / 2, 2, high);
  }
}
