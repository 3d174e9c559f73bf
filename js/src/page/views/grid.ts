// Every layer and head at once.

import { element } from "../../dom";
import { headGrid } from "../../grid";
import { selectedMap } from "../bundle";
import { kindOf } from "../store";
import { cellWords } from "./cells";
import { dayOf, type Host, pair, section } from "./section";

export function gridView(host: Host, parent: HTMLElement): void {
  const { store } = host;
  const view = section(parent, "head grid", "head", "layer");
  view.root.dataset["view"] = "grid";
  const title = element("h3", "", view.root);
  const kind = () => kindOf(pair(host)[0]!, store.where.kind);
  const before = (cell: { query: number; key: number }) => ({
    query: kind().queries.length - 1 - cell.query,
    key: kind().keys.length - 1 - cell.key,
  });
  const words = (layer: number, head: number | null, query: number, key: number) => {
    const map = selectedMap(host.arrays, kind(), layer, head);
    const { values, columns } = map;
    const place = (kind().queries.length - 1 - query) * columns + columns - 1 - key;
    const which = head === null ? "mean of the heads" : `head ${head}`;
    const days = `query ${dayOf(kind().queries, query)}, key ${dayOf(kind().keys, key)}`;
    return `layer ${layer}, ${which}: ${days}, weight ${cellWords(map, values[place])}`;
  };
  const selected = () => words(store.where.layer, store.where.head, store.where.query, store.where.key);
  const grid = headGrid(
    view.root,
    {
      select: (cell) => store.set({ layer: cell.layer, head: cell.head, ...before(cell) }),
      hover: (cell) =>
        view.say(cell === null ? selected() : words(cell.layer, cell.head, before(cell).query, before(cell).key)),
    },
    host.signal,
  );
  let last: unknown = null;
  store.follow(() => {
    if (last !== kind()) {
      last = kind();
      title.textContent = `${kind().title}, all heads`;
      grid.show(kind().maps, host.arrays.codes.get(kind())!);
    }
    grid.select(store.where.layer, store.where.head);
    view.say(selected());
  });
}
