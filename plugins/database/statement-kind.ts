/** Statement kinds that metrics distinguish. A transaction is also counted as a whole. */
export const QUERY_KINDS = ['select', 'insert', 'update', 'delete', 'transaction', 'other'] as const
export type QueryKind = (typeof QUERY_KINDS)[number]

const KIND_OF_VERB: ReadonlyMap<string, QueryKind> = new Map([
  ['select', 'select'],
  ['insert', 'insert'],
  ['update', 'update'],
  ['delete', 'delete']
])

function kindOf(text: string): QueryKind {
  const [verb = ''] = text.match(/[a-z]+/i) ?? []
  return KIND_OF_VERB.get(verb.toLowerCase()) ?? 'other'
}

/** Whether a statement selects columns, as query builders write it, and takes no row locks. */
const isPlainSelection = (text: string): boolean => isSelection(text) && !LOCKING.test(text)

/** The same, but it may take locks, which end with its transaction. */
export const isSelection = (text: string): boolean => text.startsWith('select "')

const LOCKING = / for (?:no key )?(?:update|share|key share)/

export interface Statement {
  readonly kind: QueryKind
  readonly isPlainSelection: boolean
}

/** Number of statement texts to remember. An app has a few hundred, and sends them over and over. */
const KEPT = 1_000

/** Returns a function that classifies a statement by its text. */
export function statementReader(): (text: string) => Statement {
  const known = new Map<string, Statement>()
  return text => {
    const found = known.get(text)
    if (found !== undefined) return found
    const statement = { kind: kindOf(text), isPlainSelection: isPlainSelection(text) }
    if (known.size < KEPT) known.set(text, statement)
    return statement
  }
}
