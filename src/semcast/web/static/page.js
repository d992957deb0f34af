// What the browser does by itself: values beside sliders, dropped and pasted files, the camera, the microphone.
(() => {
  const semcast = (window.semcast = { uploads: {} });

  semcast.say = (input) => {
    const said = input.dataset.says ? JSON.parse(input.dataset.says)[input.value] : input.value + (input.dataset.unit || "");
    input.closest(".range").querySelector("output").textContent = said;
    input.setAttribute("aria-valuetext", said);
  };

  semcast.slide = (input) => input.closest(".compare").style.setProperty("--at", input.value + "%");

  // ---- files: all of them go through the uploaders of the page ----

  const uploader = (name) => {
    const id = semcast.uploads[name];
    return id === undefined ? null : document.getElementById("c" + id);
  };

  // What the chooser offers; whatever comes is judged by the server, which says in a sentence what is wrong with it.
  const OFFERED = { photo: "image/*,.heic,.heif,.avif,.jp2", sem: ".sem", sound: "audio/*,.wav,.flac,.ogg,.mp3" };

  semcast.pick = (name) => {
    const input = uploader(name)?.querySelector("input[type=file]");
    if (!input) return;
    input.accept = OFFERED[name];
    input.click();
  };

  semcast.give = (name, files) => {
    const input = uploader(name)?.querySelector("input[type=file]");
    if (!input || !files.length) return;
    const carrier = new DataTransfer();
    carrier.items.add(files[0]);
    input.files = carrier.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  };

  const kindOf = (file) => (/\.sem$/i.test(file.name) ? "sem" : /^audio\//.test(file.type) ? "sound" : "photo");

  const over = (on) => document.body.classList.toggle("dropping", on);
  document.addEventListener("dragover", (event) => {
    if (![...(event.dataTransfer?.types || [])].includes("Files")) return;
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget || over(false));
  document.addEventListener("drop", (event) => {
    over(false);
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    semcast.give(kindOf(event.dataTransfer.files[0]), event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) semcast.give("photo", event.clipboardData.files);
  });

  // ---- camera ----

  semcast.camera = async () => {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 960 } });
    } catch (error) {
      return emitEvent("semcast-trouble", "the camera cannot be used here: " + (error.message || error.name));
    }
    const dialog = document.createElement("dialog");
    dialog.className = "camera";
    dialog.innerHTML = '<video autoplay playsinline muted></video><div><button data-take>Take the photo</button><button>Close</button></div>';
    document.body.append(dialog);
    const video = dialog.querySelector("video");
    video.srcObject = stream;
    const close = () => {
      stream.getTracks().forEach((track) => track.stop());
      dialog.remove();
    };
    dialog.addEventListener("close", close);
    dialog.querySelectorAll("button")[1].onclick = () => dialog.close();
    dialog.querySelector("[data-take]").onclick = () => {
      const canvas = document.createElement("canvas");
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      canvas.getContext("2d").drawImage(video, 0, 0);
      canvas.toBlob((blob) => {
        semcast.give("photo", [new File([blob], "camera.jpg", { type: "image/jpeg" })]);
        dialog.close();
      }, "image/jpeg", 0.95);
    };
    dialog.showModal();
  };

  // ---- microphone: a WAV of what came, without what telephones do to voices ----

  const wav = (chunks, rate) => {
    const count = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const view = new DataView(new ArrayBuffer(44 + 2 * count));
    const text = (at, word) => [...word].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
    text(0, "RIFF"), view.setUint32(4, 36 + 2 * count, true), text(8, "WAVEfmt ");
    view.setUint32(16, 16, true), view.setUint16(20, 1, true), view.setUint16(22, 1, true);
    view.setUint32(24, rate, true), view.setUint32(28, 2 * rate, true), view.setUint16(32, 2, true), view.setUint16(34, 16, true);
    text(36, "data"), view.setUint32(40, 2 * count, true);
    let at = 44;
    for (const chunk of chunks)
      for (const value of chunk) view.setInt16(at, 32767 * Math.max(-1, Math.min(1, value)), true), (at += 2);
    return new File([view.buffer], "recording.wav", { type: "audio/wav" });
  };

  let recording = null;
  semcast.record = async (button) => {
    if (recording) return recording();
    let stream;
    try {
      const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
      stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
    } catch (error) {
      return emitEvent("semcast-trouble", "the microphone cannot be used here: " + (error.message || error.name));
    }
    const context = new AudioContext();
    await context.audioWorklet.addModule("/semcast/recorder.js");
    const node = new AudioWorkletNode(context, "semcast-recorder", { numberOfOutputs: 0 });
    const chunks = [];
    node.port.onmessage = (message) => chunks.push(message.data);
    context.createMediaStreamSource(stream).connect(node);
    const said = button.textContent;
    const clock = setInterval(() => {
      const seconds = chunks.reduce((sum, chunk) => sum + chunk.length, 0) / context.sampleRate;
      button.textContent = `Stop (${seconds.toFixed(0)} s)`;
      if (seconds > 115) recording?.();
    }, 250);
    recording = () => {
      recording = null;
      clearInterval(clock);
      button.textContent = said;
      stream.getTracks().forEach((track) => track.stop());
      const rate = context.sampleRate;
      context.close();
      semcast.give("sound", [wav(chunks, rate)]);
    };
  };
})();
