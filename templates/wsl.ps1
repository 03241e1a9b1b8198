# Starts an agent in WSL 2: powershell -ExecutionPolicy Bypass -File wsl.ps1 [-Distribution NAME]
# The distribution needs the engine in it.
param([string]$Distribution = '')
$ErrorActionPreference = 'Stop'
$folder = '/etc/octoperf-agent'
$asRoot = @('-u', 'root')
if ($Distribution -ne '') { $asRoot = @('-d', $Distribution) + $asRoot }

function Invoke-Wsl {
    & wsl.exe @asRoot -- @args
    if ($LASTEXITCODE -ne 0) { throw "wsl.exe ended with code $LASTEXITCODE" }
}

# The folder is root's alone before the first secret stands in it.
Invoke-Wsl mkdir -p -m 0700 $folder
$files = @(
{% for file in files %}
    {{ file }}
{% endfor %}
)
foreach ($file in $files) {
    $source = Join-Path -Path $PSScriptRoot -ChildPath $file
    $inside = Invoke-Wsl wslpath -a $source.Replace('\', '/')
    Invoke-Wsl install -m 0600 $inside "$folder/$file"
}
Invoke-Wsl sh ("$folder/" + {{ script }})
