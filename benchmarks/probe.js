// Runs in every page of the benchmark before JupyterLab does: hears the kernel's websocket and the
// changes of the notebook's outputs, and says how long it took until the last of them was on the screen.
(() => {
  const KERNEL = /\/api\/kernels\/[^/]+\/channels/;
  const unanswered = new Set();
  let now = null; // the measurement under way

  // The protocol v1.kernel.websocket.jupyter.org: a count, that many offsets, and the parts they point to.
  const part = (buffer, number) => {
    const view = new DataView(buffer);
    const at = (i) => Number(view.getBigUint64(8 * (i + 1), true));
    return new TextDecoder().decode(new Uint8Array(buffer, at(number), at(number + 1) - at(number)));
  };
  const message = (data) => ({ channel: part(data, 0), header: JSON.parse(part(data, 1)), part: (i) => JSON.parse(part(data, i)) });

  const heard = (data) => {
    const { header, part } = message(data);
    if (header.msg_type === "status" && part(4).execution_state === "idle") unanswered.delete(part(2).msg_id);
    if (now === null) return;
    const date = Date.parse(header.date);
    now.messages += 1;
    now.bytes += data.byteLength;
    now.begun = Math.min(now.begun, date);
    now.ended = Math.max(now.ended, date);
    now.active = performance.now();
  };
  const said = (data) => {
    const { channel, header } = message(data);
    if (channel === "shell") unanswered.add(header.msg_id);
    if (now !== null) now.sent += 1;
  };
  window.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args);
      this.kernel = KERNEL.test(this.url);
      if (this.kernel) this.addEventListener("message", (event) => heard(event.data));
    }
    send(data) {
      if (this.kernel) said(data.buffer ?? data);
      super.send(data);
    }
  };

  const inOutput = (node) => (node.closest ? node : node.parentElement)?.closest(".jp-Cell-outputArea") != null;

  // What changed is on the screen after the next frame: a task queued in it runs when it is painted.
  const changed = () => {
    if (now === null || now.framePending) return;
    const measured = now;
    measured.framePending = true;
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => {
        measured.framePending = false;
        measured.painted = measured.active = performance.now();
      };
      measured.framePending = true;
      port2.postMessage(null);
    });
  };
  const observer = new MutationObserver((records) => {
    if (now !== null && records.some((record) => inOutput(record.target))) changed();
  });
  // Pictures, in HTML and SVG, show when they are loaded, not when the DOM changes.
  const loaded = (event) => {
    if (now === null || !inOutput(event.target)) return;
    now.firstPicture ??= performance.now() - now.start;
    changed();
  };
  document.addEventListener("DOMContentLoaded", () => {
    observer.observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
    document.body.addEventListener("load", loaded, true); // Chromium asks the elements who listens, not the document
  });

  const acts = {
    // JupyterLab's toolbar acts when the mouse goes down.
    run: () =>
      document
        .querySelector('[data-command="notebook:run-cell-and-select-next"]')
        .dispatchEvent(new MouseEvent("mousedown", { button: 0, bubbles: true, cancelable: true })),
    press: (name) =>
      [...document.querySelectorAll(".jp-OutputArea button")].find((button) => button.textContent === name).click(),
    // Drag over the middle third of the first brush.
    brush: () => {
      const overlay = document.querySelector(".jp-OutputArea .overlay");
      const box = overlay.getBoundingClientRect();
      const mouse = (kind, share, target) => {
        const at = { clientX: box.left + share * box.width, clientY: box.top + box.height / 2 };
        target.dispatchEvent(new MouseEvent(kind, { ...at, view: window, bubbles: true, cancelable: true }));
      };
      mouse("mousedown", 0.33, overlay);
      mouse("mousemove", 0.66, window);
      mouse("mouseup", 0.66, window);
    },
    // The next option of a dropdown, the previous of a slider: it starts at its end.
    change: (name) => {
      const labels = [...document.querySelectorAll(".jp-OutputArea .widget-label")];
      const control = labels.find((label) => label.textContent === name).parentElement;
      const select = control.querySelector("select");
      if (select === null) {
        const key = new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true, cancelable: true });
        control.querySelector(".noUi-handle").dispatchEvent(key);
      } else {
        select.selectedIndex = (select.selectedIndex + 1) % select.options.length;
        select.dispatchEvent(new Event("change", { bubbles: true }));
      }
    },
  };

  /** Act, and wait until the kernel has answered everything and `quiet` ms went by without a message or a change. */
  window.measure = ([act, argument, quiet]) =>
    new Promise((resolve) => {
      const start = performance.now();
      now = { start, messages: 0, sent: 0, bytes: 0, begun: Infinity, ended: -Infinity, painted: null, active: start };
      acts[act](argument);
      let last = start;
      const timer = setInterval(() => {
        const time = performance.now();
        if (time - last > 100) now.active = time; // the page was busy
        last = time;
        if (unanswered.size || now.framePending || time - now.active < quiet) return;
        clearInterval(timer);
        const { messages, sent, bytes, begun, ended, painted, firstPicture } = now;
        now = null;
        resolve({ ms: painted === null ? null : painted - start, firstPicture, kernel: Math.max(ended - begun, 0), messages, sent, bytes });
      }, 20);
    });
})();
