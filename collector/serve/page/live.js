// One WebSocket: subscriptions are made again after a break, and trades go on from the last one that came.
export class Live {
  #socket = null; #wanted = new Map(); #lastId = ""; #tries = 0; #timer = 0;

  constructor(onEvent, onState) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.#open();
  }

  /** Replace what is wanted under a name. */
  want(name, channels, markets) {
    const before = this.#wanted.get(name);
    if (before) this.#say({ op: "unsubscribe", ...before });
    const wanted = { channels, markets };
    this.#wanted.set(name, wanted);
    this.#say({ op: "subscribe", ...wanted });
  }

  #open() {
    const address = new URL("v1/ws", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    const socket = new WebSocket(address);
    this.#socket = socket;
    socket.onopen = () => {
      const isBack = this.#tries > 0 || this.#lastId !== "";
      this.#tries = 0;
      for (const wanted of this.#wanted.values()) this.#say({ op: "subscribe", ...wanted });
      this.onState("open", isBack);
    };
    socket.onmessage = ({ data }) => {
      const event = JSON.parse(data);
      if (event.op) return;
      this.#lastId = event.id;
      this.onEvent(event);
    };
    socket.onclose = () => {
      this.onState("closed", false);
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#open(), Math.min(500 * 2 ** this.#tries++, 10000));
    };
  }

  #say(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }
}
