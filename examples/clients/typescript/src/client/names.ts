/** Names of enum values. A newer service may give values that this client was not generated with: they are shown as numbers, and end nothing. */
export function nameOf(values: { readonly [value: number]: string | undefined }, value: number): string {
  return values[value] ?? `not known here: ${value}`;
}
