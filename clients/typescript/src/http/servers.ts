/** Chooses the next of several equal servers. Pure. */

// How many turns a server is skipped after it did not answer, before it is tried again.
const PASSED_OVER = 20;

/** Equal servers, used in turn; a server that did not answer is skipped for a while. */
export class Servers {
  private readonly ring: string[];
  private readonly passesLeft = new Map<string, number>();
  private turn = -1;

  constructor(baseUrls: readonly string[]) {
    for (const url of baseUrls) {
      if (!/^https?:\/\/./.test(url)) {
        throw new TypeError(`${url} is no address of an engine: https://HOST`);
      }
    }
    this.ring = baseUrls.map((url) => url.replace(/\/+$/, ""));
  }

  /** The server to use now. If all are skipped, the next in turn. */
  next(): string {
    for (let turns = 0; turns < this.ring.length; turns += 1) {
      const url = this.advance();
      const left = this.passesLeft.get(url) ?? 0;
      if (!left) return url;
      this.passesLeft.set(url, left - 1);
    }
    return this.advance();
  }

  /** Note whether a server answered; a refusal is an answer. */
  note(url: string, answered: boolean): void {
    if (answered) this.passesLeft.delete(url);
    else this.passesLeft.set(url, PASSED_OVER);
  }

  private advance(): string {
    this.turn = (this.turn + 1) % this.ring.length;
    return this.ring[this.turn] ?? "";
  }
}
