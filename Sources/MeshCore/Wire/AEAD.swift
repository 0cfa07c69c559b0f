import Crypto

/// AES-256-GCM with a counter for a nonce, and HKDF-SHA256: with the challenge's HMAC, the only ways in which the wire uses a secret.
enum AEAD {
    static func derive(from key: GossipKey, salt: [UInt8], info: [UInt8]) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(inputKeyMaterial: SymmetricKey(data: key.secret), salt: salt, info: info, outputByteCount: 32)
    }

    // The library keeps nonce, ciphertext and tag as one, so they are taken out and put in as one.

    /// Writes ciphertext and tag. False, and nothing written, can't happen with a 32-byte key and a 12-byte nonce, but the library's signature
    /// allows it.
    static func seal(_ plain: [UInt8], key: SymmetricKey, counter: UInt64, associated: [UInt8], to writer: inout ByteWriter) -> Bool {
        guard let nonce = try? AES.GCM.Nonce(data: nonce(counter, reserving: nonceBytes).bytes),
            let combined = try? AES.GCM.seal(plain, using: key, nonce: nonce, authenticating: associated).combined
        else { return false }
        writer.write(raw: combined.dropFirst(nonceBytes))
        return true
    }

    /// The plaintext, or nil when the seal doesn't hold.
    static func open(_ sealed: ArraySlice<UInt8>, key: SymmetricKey, counter: UInt64, associated: [UInt8]) -> [UInt8]? {
        var combined = nonce(counter, reserving: nonceBytes + sealed.count)
        combined.write(raw: sealed)
        guard sealed.count >= PacketSealer.tagBytes, let box = try? AES.GCM.SealedBox(combined: combined.bytes),
            let plain = try? AES.GCM.open(box, using: key, authenticating: associated)
        else { return nil }
        return Array(plain)
    }

    private static let nonceBytes = 12

    private static func nonce(_ counter: UInt64, reserving capacity: Int) -> ByteWriter {
        var nonce = ByteWriter(reserving: capacity)
        nonce.write(0 as UInt32)
        nonce.write(counter)
        return nonce
    }
}
