const PLAIN = /^[\w.:-]*$/

/** Quotes a string as JSON. Checking that nothing needs escaping takes a third of the time of `JSON.stringify`. */
export const quotedJson = (text: string): string => (PLAIN.test(text) ? `"${text}"` : JSON.stringify(text))
