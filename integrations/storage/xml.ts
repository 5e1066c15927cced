/* Parses the few elements of S3's replies that we need: no attributes, no nesting of equal names. */

const ENTITIES: Readonly<Record<string, string>> = { lt: '<', gt: '>', quot: '"', apos: "'", amp: '&' }

/** The inner text of every element with this name. */
export function elements(xml: string, name: string): string[] {
  return [...xml.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, 'gs'))].map(([, inner]) => inner!)
}

/** The text of the first element with this name. */
export function textOf(xml: string, name: string): string | undefined {
  const [first] = elements(xml, name)
  return first?.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (whole, decimal, hex, entity) => {
    if (decimal) return String.fromCodePoint(Number(decimal))
    return hex ? String.fromCodePoint(Number.parseInt(hex, 16)) : (ENTITIES[entity] ?? whole)
  })
}
