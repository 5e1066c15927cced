import type { Html } from '../plugins/lib/html.ts'

export type Theme = 'light' | 'dark'
export type Role = 'member' | 'admin' | 'owner'

/** Who looks at a page. */
export interface Viewer {
  readonly id: string
  readonly username: string
  readonly isOperator: boolean
}

/** A team in the switcher. */
export interface TeamLink {
  readonly id: string
  readonly name: string
  readonly slug: string
  readonly role: Role
}

/** What every page knows about the request it answers. Made by `sendPage`; views only read it. */
export interface PageContext {
  /** Admits the page's scripts through its Content-Security-Policy. */
  readonly nonce: string
  /** The URL of an asset by its name, such as `app.css`. */
  readonly asset: (name: string) => string
  /** The path of the request, without its query. */
  readonly path: string
  /** The path with its query: what leads back here. */
  readonly url: string
  /** Undefined: as the system prefers. */
  readonly theme: Theme | undefined
  /** Null when nobody is signed in. */
  readonly viewer: Viewer | null
  /** The viewer's teams, by name. */
  readonly teams: readonly TeamLink[]
  /** The team that the page is about; the viewer's first one on pages of no team. */
  readonly team: TeamLink | undefined
  /** The code in `?done=`: what the viewer has just done. */
  readonly done: string | undefined
  /** The token of this page's forms. It may set a cookie, so it is made only for pages that have a form. */
  readonly csrf: () => string
  /** A new key that makes the submission of one form happen once. */
  readonly submission: () => string
  /** The message of a closed platform, for operators who look at it; null while it is open. */
  readonly closed: string | null
  /** The time that ages are counted from. */
  readonly now: Date
}

/** The entry of the navigation that a page belongs to. */
export type Section = 'dashboard' | 'apps' | 'team' | 'billing' | 'settings' | 'admin' | 'none'

export interface Page {
  /** Unique among pages: what the tab says, before the name of the product. */
  readonly title: string
  readonly section: Section
  readonly content: Html
  /** For reading and forms: a column as wide as a line of text. */
  readonly narrow?: boolean
}

/** A page for the frame that signed-in people have around everything. */
export type View = (context: PageContext) => Page

/** A page on its own, without navigation: to sign in, or to say what went wrong. */
export interface SoloPage {
  readonly title: string
  readonly content: Html
  /** For search engines and links in chats. */
  readonly description?: string
  /** The content brings its own layout instead of standing in the middle. */
  readonly bare?: boolean
}
export type SoloView = (context: PageContext) => SoloPage
