/** Sound and vibration for an offer: until it is answered, a phone in a pocket must be heard. */

const BEEP_EVERY_MS = 1_500;
const BEEP_S = 0.18;
const MOST_BEEPS = 20;

let audio: AudioContext | null = null;
let timer = 0;

/** Browsers allow sound after a touch only: called by the button that goes online. */
export function allowSound(): void {
  try {
    audio ??= new AudioContext();
    void audio.resume();
  } catch {
    // A browser without sound: the phone still vibrates.
  }
}

export function alarm(times = MOST_BEEPS): void {
  hush();
  let left = times;
  const ring = (): void => {
    left -= 1;
    beep();
    vibrate([220, 90, 220]);
    if (left <= 0) hush(false);
  };
  ring();
  if (left > 0) timer = setInterval(ring, BEEP_EVERY_MS) as unknown as number;
}

export function hush(stopVibration = true): void {
  clearInterval(timer);
  if (stopVibration) vibrate(0);
}

function beep(): void {
  if (audio === null || audio.state !== "running") return;
  const tone = audio.createOscillator();
  const volume = audio.createGain();
  const start = audio.currentTime;
  tone.type = "triangle";
  tone.frequency.setValueAtTime(880, start);
  tone.frequency.setValueAtTime(1175, start + BEEP_S / 2);
  volume.gain.setValueAtTime(0.0001, start);
  volume.gain.exponentialRampToValueAtTime(0.4, start + 0.02);
  volume.gain.exponentialRampToValueAtTime(0.0001, start + BEEP_S);
  tone.connect(volume).connect(audio.destination);
  tone.start(start);
  tone.stop(start + BEEP_S);
}

/** A browser refuses it, and complains, before the page was touched. */
function vibrate(pattern: number | number[]): void {
  if (navigator.userActivation?.hasBeenActive !== false) navigator.vibrate?.(pattern);
}
