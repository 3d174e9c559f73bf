// The page as a file: it carries its bundle as text and its bytes compressed.

import "./exported.css";
import { linked } from "./page/address";
import { page } from "./page/page";

async function start(): Promise<void> {
  const loading = document.body.appendChild(document.createElement("p"));
  loading.textContent = "Loading…";
  await new Promise((painted) => requestAnimationFrame(() => setTimeout(painted)));
  const bundle = new TextDecoder().decode(await unpacked("bundle"));
  const bytes = await unpacked("data");
  loading.remove();
  const main = document.body.appendChild(document.createElement("main"));
  linked(page(main, JSON.parse(bundle), bytes, new AbortController().signal), main);
}

/** The content of a script element: compressed, and written as text. */
async function unpacked(id: string): Promise<Uint8Array> {
  const packed = Uint8Array.from(atob(document.getElementById(id)!.textContent!), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

start().catch((error: unknown) => {
  document.body.append(`This page cannot be displayed, its data are damaged: ${error}`);
});
