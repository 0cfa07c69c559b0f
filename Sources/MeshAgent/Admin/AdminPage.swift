extension AdminAnswer {
    /// A page that reads `/v1/members` once a second. Everything is set as text, so nothing that a member says of itself becomes markup.
    static let page = AdminAnswer(
        200, .html,
        """
        <!doctype html>
        <html lang="en">
        <meta charset="utf-8">
        <title>SessionMesh</title>
        <style>
        body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222; background: #fff }
        table { border-collapse: collapse; width: 100% }
        th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #ddd }
        .alive { color: #17692c } .suspect { color: #9a5b00 } .dead, .left { color: #a3202a }
        #note { color: #666 }
        </style>
        <h1>SessionMesh</h1>
        <p id="note">Asking the agent…</p>
        <table><thead><tr><th>Member<th>Status<th>Stage<th>Role<th>Address<th>Weight</tr></thead><tbody id="members"></tbody></table>
        <h2>Instances</h2>
        <table><thead><tr><th>Node<th>Service<th>Address<th>Weight</tr></thead><tbody id="instances"></tbody></table>
        <script>
        const row = (words, kind) => {
          const line = document.createElement("tr");
          for (const word of words) line.insertCell().textContent = word;
          if (kind) line.cells[1].className = kind;
          return line;
        };
        const show = (id, lines) => document.getElementById(id).replaceChildren(...lines);
        const note = (text) => { document.getElementById("note").textContent = text; };
        const ask = async () => {
          try {
            const view = await (await fetch("/v1/members")).json();
            show("members", view.members.map(m => row([m.name, m.degraded ? `${m.status} (degraded)` : m.status, m.stage, m.role, m.address, m.weight], m.status)));
            show("instances", view.instances.map(i => row([i.node, i.service, i.address, i.weight])));
            note(`${view.members.length} members at epoch ${view.epoch}, as this agent sees them now`);
          } catch { note("The agent does not answer."); }
          setTimeout(ask, 1000);
        };
        ask();
        </script>
        </html>

        """)
}
