/** The form that a page shows until somebody is signed in. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Button, dismissAll, Field } from "./components.tsx";
import icon from "./icon.svg";
import { isSigningIn, restore, session, signIn, signInProblem, type Role } from "./session.ts";

interface Props {
  /** The page's name, such as “Operations”. */
  title: string;
  /** Whose tokens may use the page. */
  roles: readonly Role[];
  /** How to get a link or a token. */
  help: ComponentChildren;
  children: ComponentChildren;
}

/** Shows its children once somebody with one of these roles is signed in; before, the form. */
export function SignedIn({ title, roles, help, children }: Props) {
  const [isRestored, setRestored] = useState(false);
  useEffect(() => {
    void restore(roles).finally(() => setRestored(true));
  }, []);
  if (session.value !== null) return <>{children}</>;
  if (!isRestored || isSigningIn.value) return <p class="sign-in" role="status">Signing in…</p>;
  return <SignIn title={title} roles={roles} help={help} />;
}

function SignIn({ title, roles, help }: Omit<Props, "children">) {
  const [token, setToken] = useState("");
  const [error, setError] = useState<string | null>(null);
  useEffect(dismissAll, []);
  return (
    <main class="sign-in">
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          setError(signIn(token, roles));
        }}
      >
        <div class="sign-in-brand">
          <img src={icon} alt="" />
          Mallard
        </div>
        <h1>{title}</h1>
        {signInProblem.value && error === null && <p role="alert">{signInProblem.value}</p>}
        <Field
          label="Token"
          // A password field hides the token from onlookers, and browsers do not suggest it elsewhere.
          type="password"
          autocomplete="off"
          spellcheck={false}
          required
          value={token}
          error={error}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        <Button type="submit" kind="primary">
          Sign in
        </Button>
        <div class="muted small">{help}</div>
      </form>
    </main>
  );
}
