/** Named deadlines by the uptime. Pure: the time is an argument of `run`. */

interface Deadline {
  atMs: number;
  run: () => void;
}

export class Timers {
  private readonly deadlines = new Map<string, Deadline>();

  /** The earliest deadline. */
  get nextMs(): number | undefined {
    const times = [...this.deadlines.values()].map(({ atMs }) => atMs);
    return times.length ? Math.min(...times) : undefined;
  }

  /** The deadline of a name. */
  at(name: string): number | undefined {
    return this.deadlines.get(name)?.atMs;
  }

  has(name: string): boolean {
    return this.deadlines.has(name);
  }

  /** Call `run` at `atMs`; it replaces the earlier deadline of that name. */
  set(name: string, atMs: number, run: () => void): void {
    this.deadlines.set(name, { atMs, run });
  }

  clear(...names: string[]): void {
    for (const name of names) this.deadlines.delete(name);
  }

  /** Run what is due, the earliest first. Deadlines that are set meanwhile wait for the next call. */
  run(nowMs: number): void {
    const due = [...this.deadlines].filter(([, { atMs }]) => atMs <= nowMs);
    due.sort(([, a], [, b]) => a.atMs - b.atMs);
    for (const [name, deadline] of due) {
      if (this.deadlines.get(name) !== deadline) continue;
      this.deadlines.delete(name);
      deadline.run();
    }
  }
}
