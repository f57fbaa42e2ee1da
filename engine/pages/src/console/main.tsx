import { Empty, LineBanner } from "../shared/components.tsx";
import { start } from "../shared/page.tsx";
import { SignedIn } from "../shared/sign-in.tsx";

start(
  <SignedIn title="Operations" roles={["operator"]} help={<code>mallard token operator NAME --link</code>}>
    <LineBanner />
    <main>
      <h1>Operations</h1>
      <Empty title="Nothing here yet" />
    </main>
  </SignedIn>,
);
