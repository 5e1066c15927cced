export interface Page {
  readonly status: number
  readonly url: string
  readonly body: string
  readonly headers: Headers
}

interface Visit {
  method?: string
  body?: URLSearchParams | string
  headers?: Record<string, string>
  /** The URL from which redirects are no longer followed. */
  follow?: boolean
}

const MOST_REDIRECTS = 10

/** The parts of a browser that sign-in needs: cookies by origin, redirects, and forms with their origin. */
export class TestBrowser {
  readonly cookies = new Map<string, Map<string, string>>()

  async open(url: string, { follow = true, ...visit }: Visit = {}): Promise<Page> {
    let target = url
    let next: Visit = visit
    for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
      const response = await fetch(target, { ...next, headers: this.#headers(target, next), redirect: 'manual' })
      this.#keep(target, response.headers.getSetCookie())
      const location = response.headers.get('location')
      if (location === null || !follow)
        return { status: response.status, url: target, body: await response.text(), headers: response.headers }
      target = new URL(location, target).href
      next = {}
    }
    throw new Error(`${url} redirects too often`)
  }

  /** Submits a form of a page, from that page. */
  submit(page: Page, action: string, fields: Record<string, string>, visit: Visit = {}): Promise<Page> {
    const [, token = ''] = /name="_csrf" value="([^"]*)"/.exec(page.body) ?? []
    const { origin } = new URL(page.url)
    return this.open(new URL(action, page.url).href, {
      method: 'POST',
      body: new URLSearchParams({ _csrf: token, ...fields }),
      ...visit,
      headers: { origin, 'sec-fetch-site': 'same-origin', ...visit.headers }
    })
  }

  cookie(url: string, name: string): string | undefined {
    return this.cookies.get(new URL(url).origin)?.get(name)
  }

  set(url: string, name: string, value: string): void {
    const { origin } = new URL(url)
    this.cookies.set(origin, (this.cookies.get(origin) ?? new Map()).set(name, value))
  }

  #headers(url: string, visit: Visit): Record<string, string> {
    const jar = this.cookies.get(new URL(url).origin) ?? new Map<string, string>()
    const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ')
    return { accept: 'text/html,application/xhtml+xml,*/*;q=0.8', ...(cookie && { cookie }), ...visit.headers }
  }

  #keep(url: string, cookies: readonly string[]): void {
    for (const cookie of cookies) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(cookie) ?? []
      if (/max-age=0\b/i.test(cookie)) this.cookies.get(new URL(url).origin)?.delete(name)
      else this.set(url, name, value)
    }
  }
}
