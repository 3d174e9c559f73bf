// The page as a widget: for hosts that run anywidgets and no other widgets.

import type { AnyModel } from "@anywidget/types";
import type { Bundle } from "./page/bundle";
import { page } from "./page/page";

interface Context {
  model: AnyModel<{ bundle: Bundle; data: DataView }>;
  el: HTMLElement;
  signal: AbortSignal;
}

function render({ model, el, signal }: Context): void {
  const { buffer, byteOffset, byteLength } = model.get("data");
  page(el, model.get("bundle"), new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength), signal);
}

export default { render };
