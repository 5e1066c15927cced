const PLAIN = /^[\w.:-]*$/

/** Quotes a string as JSON. Ids and addresses need no escaping, which takes a third of `JSON.stringify`'s time to see. */
export const quotedJson = (text: string): string => (PLAIN.test(text) ? `"${text}"` : JSON.stringify(text))
