/** Starts a page: its content, the toasts, and the styles that all pages share. */

import { render, type ComponentChildren } from "preact";
import "./base.css";
import { Toasts } from "./components.tsx";

export function start(content: ComponentChildren): void {
  const root = document.getElementById("page");
  if (root === null) throw new Error("the HTML has no element #page");
  render(
    <>
      {content}
      <Toasts />
    </>,
    root,
  );
}
