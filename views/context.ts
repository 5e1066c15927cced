import type { Html } from '../plugins/lib/html.ts'

export type Theme = 'light' | 'dark'
export type Role = 'member' | 'admin' | 'owner'

/** The signed-in user. */
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

/** Everything that a page knows about the request it answers. Created by `sendPage`; views only read it. */
export interface PageContext {
  /** Admits the page's scripts through its Content-Security-Policy. */
  readonly nonce: string
  /** The URL of an asset by its name, such as `app.css`. */
  readonly asset: (name: string) => string
  /** The path of the request, without its query. */
  readonly path: string
  /** The path with its query, for links back to this page. */
  readonly url: string
  /** Undefined: the system's preference. */
  readonly theme: Theme | undefined
  /** Null when nobody is signed in. */
  readonly viewer: Viewer | null
  /** The viewer's teams, by name. */
  readonly teams: readonly TeamLink[]
  /** The page's team; the viewer's first one on pages without a team. */
  readonly team: TeamLink | undefined
  /** The code in `?done=`: the viewer's last action. */
  readonly done: string | undefined
  /** The token of this page's forms. It may set a cookie, so it is made only for pages that have a form. */
  readonly csrf: () => string
  /** A new key that makes the submission of one form happen once. */
  readonly submission: () => string
  /** The maintenance message, for operators, while the platform is closed; null while it is open. */
  readonly closed: string | null
  /** The time from which ages are computed. */
  readonly now: Date
}

/** The navigation entry that a page belongs to. */
export type Section = 'dashboard' | 'apps' | 'team' | 'billing' | 'settings' | 'admin' | 'none'

export interface Page {
  /** Unique among pages: the text of the tab before the product's name. */
  readonly title: string
  readonly section: Section
  readonly content: Html
  /** A column as wide as a line of text, for reading and forms. */
  readonly narrow?: boolean
}

/** A page within the shell that signed-in users see. */
export type View = (context: PageContext) => Page

/** A standalone page without navigation, for sign-in and errors. */
export interface SoloPage {
  readonly title: string
  readonly content: Html
  /** For search engines and link previews. */
  readonly description?: string
  /** The content has its own layout instead of being centred. */
  readonly bare?: boolean
}
export type SoloView = (context: PageContext) => SoloPage
