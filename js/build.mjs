// Builds the front-end into the Python package, or into the folder given: one minified module a widget.

import { build } from "esbuild";

const out = process.argv[2] ?? "../stockformer_widgets/static";

await build({
  entryPoints: ["src/keyboard.ts", "src/head_grid.ts"],
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
});
