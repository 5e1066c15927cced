/** The icon of Rhone: a river in a square, 32 by 32 units. */
export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#0b5cad"/><path d="M6 12c5-5 8 5 13 0s5-3 7-2M6 21c5-5 8 5 13 0s5-3 7-2" fill="none" stroke="#fff" stroke-width="3" stroke-linecap="round"/></svg>`
