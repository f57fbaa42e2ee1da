/** Exponential backoff with full jitter. */

/** A source of randomness: from 0 up to, and without, 1. */
export type Random = () => number;

/**
 * Each wait is drawn evenly from 0 to a growing limit, which starts at `firstS` and doubles up to
 * `maxS`. Full jitter spreads a crowd that was disconnected at once over the whole interval
 * (M. Brooker, "Exponential Backoff and Jitter").
 */
export class FullJitter {
  private limitS: number;

  constructor(
    private readonly random: Random,
    private readonly firstS: number,
    private readonly maxS: number,
  ) {
    this.limitS = firstS;
  }

  /**
   * Draw the next wait, in seconds, and double the limit. `atLeast` is the share of the limit that
   * the wait is not below, `atMostS` caps the limit.
   */
  nextS(atLeast = 0, atMostS = Infinity): number {
    const limitS = Math.min(this.limitS, atMostS);
    this.limitS = Math.min(this.limitS * 2, this.maxS);
    return limitS * (atLeast + (1 - atLeast) * this.random());
  }

  reset(): void {
    this.limitS = this.firstS;
  }
}

// A misconfigured proxy must not send a client away for a day.
const LONGEST_RETRY_AFTER_S = 60;

/** How long a client waits for a `Retry-After`, in seconds. */
export function boundedS(retryAfterS = 0): number {
  return Math.min(retryAfterS, LONGEST_RETRY_AFTER_S);
}
