// Elements of the page.

export const find = (id) => document.getElementById(id);

/** Call act() when the element is clicked. */
export const onClick = (id, act) => find(id).addEventListener("click", () => act());
