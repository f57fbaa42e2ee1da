/** What a refused request means for a driver, in words. */

const WORDS: Record<string, string> = {
  offer_closed: "Too late: the offer is gone.",
  holds_jobs: "You have orders: finish them first.",
  no_position: "The engine does not know where you are yet. Wait for a position.",
  not_yours: "This order is no longer yours.",
  stale_attempt: "This order has gone on without you.",
  wrong_state: "That cannot be done now.",
  proof_needed: "A proof is missing.",
  wrong_code: "The code is wrong.",
  rate_limited: "Too many tries. Wait a moment.",
  store_unavailable: "The engine has trouble; it is tried again.",
  bad_field: "Something in the report was wrong.",
};

export function refusals(code: string, message: string, triesLeft?: number, step?: string): string {
  if (step === "returned" && code === "no_position") return "The engine has not seen you at the place yet. Stay there: it is said again by itself.";
  const words = Object.hasOwn(WORDS, code) ? WORDS[code]! : message;
  return triesLeft === undefined ? words : `${words} ${triesLeft} left.`;
}
