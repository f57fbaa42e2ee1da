/** Reads `text/event-stream` (WHATWG HTML 9.2), over `fetch` or, in React Native, XMLHttpRequest. */

import { Unreachable } from "../errors.js";

/** One event of a stream. */
export interface StreamEvent {
  id: string;
  type: string;
  data: string;
}

/** An answer whose text comes in pieces. */
export interface Streaming {
  status: number;
  header(name: string): string | null;
  chunks: AsyncIterable<string>;
  close(): void;
}

/** Parses the text of a stream, in pieces of any size. Pure. */
export class EventParser {
  private rest = "";
  private id = "";
  private type = "";
  private data: string[] = [];

  /** Take a piece; return the events that end in it. */
  push(piece: string): StreamEvent[] {
    const text = this.rest + piece;
    const events: StreamEvent[] = [];
    // A CR at the end may be half of a CRLF.
    const lines = text.split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    for (const line of lines) {
      const event = this.line(line);
      if (event !== undefined) events.push(event);
    }
    return events;
  }

  private line(line: string): StreamEvent | undefined {
    if (!line) return this.dispatch();
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.data.push(value);
    else if (name === "event") this.type = value;
    else if (name === "id" && !value.includes("\0")) this.id = value;
    return undefined;
  }

  private dispatch(): StreamEvent | undefined {
    const { id, type, data } = this;
    this.type = "";
    this.data = [];
    return data.length ? { id, type: type || "message", data: data.join("\n") } : undefined;
  }
}

/** The pieces of an answer of `fetch`; undefined where it cannot stream. */
export function streamOf(answer: Response, stop: () => void): Streaming | undefined {
  const reader = answer.body?.getReader?.();
  if (reader === undefined) return undefined;
  const decoder = new TextDecoder();
  return {
    status: answer.status,
    header: (name) => answer.headers.get(name),
    close: stop,
    chunks: (async function* () {
      while (true) {
        const { value, done } = await reader.read();
        if (done) return;
        yield decoder.decode(value, { stream: true });
      }
    })(),
  };
}

/** The stream, which fails as `Unreachable` when it breaks, or stops for `silentMs`. */
export function silenced(stream: Streaming, silentMs: number, stop: () => void): Streaming {
  async function* chunks(): AsyncGenerator<string> {
    let timer = setTimeout(stop, silentMs);
    try {
      for await (const piece of stream.chunks) {
        clearTimeout(timer);
        yield piece;
        timer = setTimeout(stop, silentMs);
      }
    } catch (error) {
      throw new Unreachable(`the stream broke: ${error}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }
  return { ...stream, chunks: chunks() };
}

/** Whether `fetch` gives an answer only as a whole, as in React Native. */
export function cannotStream(): boolean {
  return (globalThis.navigator as Navigator | undefined)?.product === "ReactNative";
}

/** GET a stream with XMLHttpRequest, whose text grows. Rejects when no answer came. */
export function streamByXhr(
  url: string,
  headers: Record<string, string>,
  signal?: AbortSignal,
): Promise<Streaming> {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    let read = 0;
    let isOver = false;
    let failure: Error | undefined;
    let wake = (): void => undefined;
    const turned = (): Promise<void> => new Promise((done) => (wake = done));
    const end = (error?: Error): void => {
      isOver = true;
      failure ??= error;
      if (error !== undefined) reject(error);
      wake();
    };
    async function* chunks(): AsyncGenerator<string> {
      while (true) {
        const piece = xhr.responseText.slice(read);
        read += piece.length;
        if (piece) yield piece;
        else if (failure !== undefined) throw failure;
        else if (isOver) return;
        else await turned();
      }
    }
    xhr.open("GET", url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.onreadystatechange = () => {
      if (xhr.readyState === XMLHttpRequest.HEADERS_RECEIVED && xhr.status) {
        resolve({
          status: xhr.status,
          header: (name) => xhr.getResponseHeader(name),
          chunks: chunks(),
          close: () => xhr.abort(),
        });
      }
    };
    xhr.onprogress = () => wake();
    xhr.onload = () => end();
    xhr.onerror = () => end(new TypeError("the network failed"));
    xhr.onabort = () => end(new DOMException("given up", "AbortError"));
    signal?.addEventListener("abort", () => xhr.abort(), { once: true });
    xhr.send();
  });
}
