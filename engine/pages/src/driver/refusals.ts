/** What a refused request means for a driver, in words. */

import { count } from "../shared/words.ts";

const WORDS: Record<string, string> = {
  offer_closed: "Too late: the offer is gone.",
  holds_jobs: "Finish your orders first.",
  no_position: "Your position is not known yet. Wait for a position.",
  not_yours: "This order is no longer yours.",
  stale_attempt: "This order has changed since your report.",
  wrong_state: "That is not possible right now.",
  proof_needed: "A proof is missing.",
  wrong_code: "The code is wrong.",
  rate_limited: "Too many tries. Wait a moment.",
  store_unavailable: "The service is having trouble. Retrying automatically.",
  bad_field: "Something in the report was wrong.",
};

export function refusals(code: string, message: string, triesLeft?: number, step?: string): string {
  if (step === "returned" && code === "no_position") return "Your position does not show you there yet. Stay there: the report is repeated automatically.";
  const words = Object.hasOwn(WORDS, code) ? WORDS[code]! : message;
  return triesLeft === undefined ? words : `${words} ${count(triesLeft, "try", "tries")} left.`;
}
