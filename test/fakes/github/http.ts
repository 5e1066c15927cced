import type { IncomingMessage, ServerResponse } from 'node:http'

export const DOCS = 'https://docs.github.com/rest'

export function redirect(response: ServerResponse, target: string, query: Record<string, string>): void {
  const url = new URL(target)
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
  response.writeHead(302, { location: url.href }).end()
}

export function send(response: ServerResponse, status: number, body?: unknown, headers: Record<string, string> = {}) {
  if (body === undefined) return void response.writeHead(status, headers).end()
  const type = { 'content-type': 'application/json; charset=utf-8' }
  response.writeHead(status, { ...type, ...headers }).end(JSON.stringify(body))
}

/** An error in GitHub's wording. */
export function refuse(response: ServerResponse, status: number, message: string, headers?: Record<string, string>) {
  send(response, status, { message, documentation_url: DOCS, status: String(status) }, headers)
}

export async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

/** A page of a list, and the Link header of the next one. */
export function pageOf<Item>(items: readonly Item[], url: URL): { items: Item[]; headers: Record<string, string> } {
  const perPage = Math.min(100, Number(url.searchParams.get('per_page') ?? 30))
  const page = Number(url.searchParams.get('page') ?? 1)
  const last = Math.max(1, Math.ceil(items.length / perPage))
  const link = (to: number, rel: string) => {
    const target = new URL(url)
    target.searchParams.set('page', String(to))
    return `<${target}>; rel="${rel}"`
  }
  const links = page < last ? [link(page + 1, 'next'), link(last, 'last')] : []
  return {
    items: items.slice((page - 1) * perPage, page * perPage),
    headers: links.length > 0 ? { link: links.join(', ') } : {}
  }
}
