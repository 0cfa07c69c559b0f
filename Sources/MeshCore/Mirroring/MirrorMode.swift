/// When a change is answered where a mirror stands behind the agents.
///
/// That a session ended or has another id is written through in both, for an end that only the nodes knew would be undone should all of them end too.
public enum MirrorMode: String, CaseIterable, Sendable {
    /// When two nodes hold it; the mirror has it within 200 ms. Changes of the last 200 ms are lost when all nodes die at one moment.
    case behind
    /// When the mirror has it as well, or after a second, or at once while the mirror is lost; the answer says which. A commit costs a round trip to the
    /// mirror more, and lasts as long as the mirror's slow moments do.
    case through
}
