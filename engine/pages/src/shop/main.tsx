import { Empty, LineBanner } from "../shared/components.tsx";
import { start } from "../shared/page.tsx";
import { SignedIn } from "../shared/sign-in.tsx";

start(
  <SignedIn title="Counter" roles={["store"]} help={<code>mallard token store NAME --link</code>}>
    <LineBanner />
    <main>
      <h1>Counter</h1>
      <Empty title="Nothing here yet" />
    </main>
  </SignedIn>,
);
