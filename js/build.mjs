// Builds the front-end into the Python package, or into the folder given: one minified file a widget or page.

import { build } from "esbuild";

const outdir = process.argv[2] ?? "../stockformer_widgets/static";
const minified = { outdir, bundle: true, minify: true, target: "es2022", charset: "utf8", legalComments: "none" };

await build({
  ...minified,
  entryPoints: [
    "src/keyboard.ts",
    "src/view_caption.ts",
    "src/head_grid.ts",
    "src/toolbar.ts",
    "src/slider_names.ts",
    "src/window_table.ts",
    "src/explorer_page.ts",
  ],
  format: "esm",
});
await build({ ...minified, entryPoints: ["src/exported.ts"], format: "iife" });
