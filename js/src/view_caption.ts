// The caption of a view as a widget.

import type { AnyModel } from "@anywidget/types";
import { caption, type Phrase, type Table, type Text } from "./caption";

interface Traits {
  reading: Phrase[];
  at_pointer: boolean;
  text: Text;
}

interface Context {
  model: AnyModel<Traits>;
  el: HTMLElement;
  signal: AbortSignal;
}

function render({ model, el, signal }: Context): void {
  const made = caption(el, () => model.send({ ask: "table" }), signal);
  const read = () => made.read(model.get("reading"), model.get("at_pointer"));
  const tell = () => made.tell(model.get("text"));
  const fill = ({ table }: { table: Table }) => made.fill(table);
  model.on("change:reading", read);
  model.on("change:at_pointer", read);
  model.on("change:text", tell);
  model.on("msg:custom", fill);
  signal.addEventListener("abort", () => {
    model.off("change:reading", read);
    model.off("change:at_pointer", read);
    model.off("change:text", tell);
    model.off("msg:custom", fill);
  });
  read();
  tell();
}

export default { render };
