// Hands every block of the microphone's samples to the page.
registerProcessor(
  "semcast-recorder",
  class extends AudioWorkletProcessor {
    process(inputs) {
      if (inputs[0]?.[0]) this.port.postMessage(inputs[0][0].slice());
      return true;
    }
  },
);
