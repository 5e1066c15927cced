import { fileURLToPath } from 'node:url'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { HeadContext } from '../../views/document.ts'
import { type Closure, closedPage, type ErrorFacts, errorPage } from '../../views/notices.ts'
import { has } from '../kernel/has.ts'

/* Options of the plugins for pages. */

const ours = (name: string) => fileURLToPath(new URL(`../../public/${name}`, import.meta.url))
const theirs = (path: string) => fileURLToPath(import.meta.resolve(path))

/** The files of pages, by the names that views use. */
export function assets() {
  return {
    files: {
      'app.css': ours('app.css'),
      'app.js': ours('app.js'),
      'events.js': ours('events.js'),
      'log.js': ours('log.js'),
      'charts.js': ours('charts.js'),
      'logo.svg': ours('logo.svg'),
      'og.png': ours('og.png'),
      'htmx.js': theirs('htmx.org/dist/htmx.min.js'),
      'hx-csp.js': theirs('htmx.org/dist/ext/hx-csp.min.js'),
      'uplot.js': theirs('uplot/dist/uPlot.esm.js'),
      'uplot.css': theirs('uplot/dist/uPlot.min.css')
    }
  }
}

/** Renders error pages. Undefined without assets: the plugin's own page is used then. */
export function renderError(app: FastifyInstance) {
  return (facts: ErrorFacts, request: FastifyRequest, nonce: string): string | undefined =>
    has(app, 'assets') ? errorPage(facts, headOf(app, request, nonce)) : undefined
}

/** Renders the maintenance page. */
export function renderClosure(app: FastifyInstance) {
  return (closure: Closure, nonce: string): string | undefined =>
    has(app, 'assets') ? closedPage(closure, headOf(app, undefined, nonce)) : undefined
}

function headOf(app: FastifyInstance, request: FastifyRequest | undefined, nonce: string): HeadContext {
  const [, theme] = /(?:^|;\s*)rhone_theme=(light|dark)(?:;|$)/.exec(request?.headers.cookie ?? '') ?? []
  return { nonce, asset: app.assets.href, theme: theme as HeadContext['theme'] }
}
