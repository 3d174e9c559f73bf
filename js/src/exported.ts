// The page as a file: it carries its bundle as text and its bytes compressed.

import "./exported.css";
import { page } from "./page/page";

async function start(): Promise<void> {
  const loading = document.body.appendChild(document.createElement("p"));
  loading.textContent = "Loading…";
  await new Promise((shown) => requestAnimationFrame(() => setTimeout(shown)));
  const text = (id: string) => document.getElementById(id)!.textContent!;
  const packed = Uint8Array.from(atob(text("data")), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  loading.remove();
  page(document.body, JSON.parse(text("bundle")), bytes, new AbortController().signal);
}

start().catch((error: unknown) => {
  document.body.append(`This page cannot be shown, its data are damaged: ${error}`);
});
