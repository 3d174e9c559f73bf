// Numbers as a person writes them.

/** A number as text with so many digits and separated thousands, or "not a number". */
export function number(value: number | null | undefined, digits = 3): string {
  if (value == null || !Number.isFinite(value)) return "not a number";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  const rounded = Number(value.toPrecision(digits));
  return rounded !== 0 && Math.abs(rounded) < 1e-4 ? rounded.toExponential() : rounded.toString();
}

/** A share in percent with three digits and, beside an even share, how many times that; as `share_words` in Python. */
export function share(value: number | null | undefined, even: number | null = null): string {
  if (value == null || !Number.isFinite(value)) return "not a number";
  const percent = 0 < value && value < 1e-5 ? "<0.001 %" : `${(100 * value).toPrecision(3)} %`;
  return even === null ? percent : `${percent} (${times(value / even)} x even)`;
}

/** A value by a form of `stockformer.charts.chart`: a share beside an even one, with its sign, or just a number. */
export function formed(value: number | undefined, form: string, even: number | null = null): string {
  if (form === "%") return share(value, even);
  return form.startsWith("+") && value! >= 0 ? `+${number(value)}` : number(value);
}

/** Below 2 it never reads as 2. */
function times(ratio: number): string {
  if (ratio < 2) return Math.min(ratio, 1.99).toFixed(2);
  return ratio.toFixed(ratio < 9.95 ? 1 : 0);
}
