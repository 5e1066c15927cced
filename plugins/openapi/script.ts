/** The search of the docs page: shows only the operations that contain all typed words. */
export const docsScript = `
const field = document.getElementById('search')
const nothing = document.querySelector('.nothing')
const items = [...document.querySelectorAll('nav li[data-words]')]

function search() {
  const words = field.value.toLowerCase().split(/\\s+/).filter(Boolean)
  let found = 0
  for (const item of items) {
    const fits = words.every(word => item.dataset.words.includes(word))
    item.hidden = !fits
    document.getElementById(item.querySelector('a').hash.slice(1)).hidden = !fits
    if (fits) found++
  }
  for (const part of document.querySelectorAll('nav div, main section[data-group]'))
    part.hidden = words.length > 0 && part.querySelector('li:not([hidden]), article:not([hidden])') === null
  nothing.hidden = found > 0
}

document.querySelector('.search').hidden = false
field.addEventListener('input', search)
document.addEventListener('keydown', event => {
  if (event.key !== '/' || event.target === field || event.ctrlKey || event.metaKey || event.altKey) return
  event.preventDefault()
  field.focus()
})
search()
`
