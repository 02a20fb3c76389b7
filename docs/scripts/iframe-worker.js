/* Search without a server: browsers start no worker from a file, so its script runs in a hidden frame instead. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.waiting = [];
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.answer = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.frame.onload = () => {
        this.isReady = true;
        this.waiting.splice(0).forEach((data) => this.postMessage(data));
      };
      this.frame.srcdoc =
        "<script>var postMessage = (data) => frameElement.answer(data)</script>" +
        `<script src="${new URL(url, location.href)}"></script>`;
      document.body.append(this.frame);
    }

    postMessage(data) {
      if (!this.isReady) this.waiting.push(data);
      else this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
