import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readGithubRepo, readGitUrl } from '../../plugins/lib/git-url.ts'

test('repository URLs are accepted in common notations', () => {
  for (const [text, url] of [
    ['https://git.example.com/acme/site.git', 'https://git.example.com/acme/site.git'],
    ['https://git.example.com/acme/site/', 'https://git.example.com/acme/site'],
    ['https://git.example.com:8443/a/b,c.git', 'https://git.example.com:8443/a/b,c.git'],
    ['https://gitlab.com/group/sub/src', 'https://gitlab.com/group/sub/src'],
    ['http://[::1]:3000/bare.git', 'http://[::1]:3000/bare.git'],
    ['file:///srv/it%27s.git', 'file:///srv/it%27s.git']
  ] as const)
    assert.deepEqual(readGitUrl(text, true), { url })
})

test('URLs that cannot be cloned are refused with a suggestion', () => {
  for (const [text, complaint] of [
    ['git@gitlab.com:acme/site.git', /use https:\/\/gitlab\.com\/acme\/site\.git$/],
    ['ssh://git@gitlab.com:22/acme/site.git', /use https:\/\/gitlab\.com\/acme\/site\.git$/],
    ['https://github.com/acme/site/tree/main', /use https:\/\/github\.com\/acme\/site, and set the branch/],
    ['https://gitlab.com/acme/site/-/tree/main', /use https:\/\/gitlab\.com\/acme\/site,/],
    ['https://me:token@example.com/a.git', /not contain a user or password/],
    ['https://example.com/a.git?x=y', /not have a query/],
    ['https://example.com/', /path of a repository/],
    ['https://example.com', /path of a repository/],
    ['https://example.com/$(id).git', /write others as %XX/],
    ['http://example.com/a.git', /must begin with https/],
    ['file://host/a', /must begin with https/],
    ['acme/site', /must be a URL/],
    [`https://example.com/${'a'.repeat(500)}`, /at most 500/]
  ] as const) {
    const read = readGitUrl(text, true)
    assert.ok('complaint' in read, text)
    assert.match(read.complaint, complaint)
  }
  assert.ok('complaint' in readGitUrl('http://localhost/a.git', false))
  assert.ok('complaint' in readGitUrl('file:///a.git', false))
})

test('a GitHub repository is recognised by its name and by the URL of any of its pages', () => {
  for (const text of [
    'acme/site',
    'https://github.com/acme/site',
    'http://www.github.com/acme/site.git',
    'github.com/acme/site/',
    'git@github.com:acme/site.git',
    'https://github.com/acme/site/tree/main/docs?tab=readme#top'
  ])
    assert.equal(readGithubRepo(text), 'acme/site', text)
  for (const text of [
    'acme',
    'acme/',
    '/site',
    'acme/..',
    'a--b/c',
    '-a/b',
    'acme/site/x',
    'https://gitlab.com/a/b',
    'a b/c'
  ])
    assert.equal(readGithubRepo(text), null, text)
})
