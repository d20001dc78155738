// Search in pages that are opened as files: browsers allow no Worker there, so its script runs in a frame.
if (location.protocol === "file:") {
  window.Worker = window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      const base = new URL(url, location);
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      this.scope = frame.contentWindow;
      const load = (source) => new Promise((resolve, reject) => {
        const script = this.scope.document.createElement("script");
        script.src = new URL(source, base);
        script.onload = resolve;
        script.onerror = () => reject(new Error(`cannot load ${script.src}`));
        this.scope.document.body.append(script);
      });
      this.scope.postMessage = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        this.onmessage?.(event);
      };
      this.scope.importScripts = async (...sources) => {
        for (const source of sources) await load(source);
      };
      this.ready = load(base);
    }
    postMessage(data) {
      this.ready.then(() => this.scope.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() { this.scope.frameElement.remove(); }
  };
}
