import assert from 'node:assert/strict'
import type { Locator, Page } from 'playwright-core'

/* Ways to use a page: with a mouse, or by the keyboard alone. */

export interface Hands {
  fill(field: Locator, text: string): Promise<void>
  press(target: Locator): Promise<void>
}

/** A mouse, which works without scripts, too. */
export const mouse: Hands = {
  fill: (field, text) => field.fill(text),
  press: target => target.click()
}

const MOST_STOPS = 120
/** Whether what has the focus can be told from everything else. */
const IS_SEEN = `(() => {
  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement)
  return outlineStyle !== 'none' && parseFloat(outlineWidth) > 0
})()`

/** The keys, from wherever the focus is; every stop has to show that it has the focus. */
export function keyboard(page: Page): Hands {
  const hasFocus = (target: Locator) => target.evaluate(element => element === element.ownerDocument.activeElement)

  async function reach(target: Locator): Promise<void> {
    await target.waitFor()
    for (let stop = 0; stop < MOST_STOPS; stop++) {
      if (await hasFocus(target)) {
        assert.ok(await page.evaluate(IS_SEEN), `nothing shows that ${target} has the focus`)
        return
      }
      await page.keyboard.press('Tab')
    }
    throw new Error(`${target} is not reached by ${MOST_STOPS} tabs on ${page.url()}`)
  }

  return {
    async fill(field, text) {
      await reach(field)
      await page.keyboard.press('ControlOrMeta+a')
      await page.keyboard.type(text)
    },
    async press(target) {
      await reach(target)
      await page.keyboard.press('Enter')
    }
  }
}
